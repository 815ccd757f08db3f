"""The parts of `crm_resource`: values, places, listings, and what only a running cluster does."""
