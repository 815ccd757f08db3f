"""The policy engine: `crm.policy.schedule.schedule(cib, now)` decides what runs where and what gets it there."""
