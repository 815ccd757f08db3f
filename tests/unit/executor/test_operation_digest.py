"""Operation digests agree with those that Pacemaker records."""

from __future__ import annotations

import pytest

from crm.cib.digest import TIMEOUT, digested_parameters, only, operation_digest, without


@pytest.mark.parametrize(
    ("params", "digest"),
    [
        ({}, "f2317cad3d54cec5d7d7aa7d0bf35cf8"),
        ({TIMEOUT: "20000"}, "4811cef7f7f94e3a35a70be7916cb2fd"),
        ({TIMEOUT: "30000"}, "02a5bcf940fc8d3239701acb11438d6a"),
        ({"set_policy": 'ha-all ^(?!amq\\.).* {"ha-mode":"all"}'}, "780d433233eb4f94c1a151623d002e84"),
        (
            {
                "implementation": "iet",
                "iqn": "iqn.2010-01.com.vds-ok:storage.vds-ok.s01.0",
                "tid": "1",
                "incoming_username": "vds-ok-pool-0",
                "incoming_password": "Rjghr57d&skp",
                "allowed_initiators": "10.5.4.0/24",
                "portals": "10.5.4.235 10.5.4.236",
                "cluster_managed": "yes",
            },
            "56daf06f4a706f62b5d4cf123e7a93aa",
        ),
    ],
)
def test_digests_are_the_recorded_ones(params: dict[str, str], digest: str) -> None:
    assert operation_digest(params) == digest


def test_the_order_of_parameters_does_not_matter() -> None:
    assert operation_digest({"a": "1", "b": "2"}) == operation_digest({"b": "2", "a": "1"})


def test_what_belongs_to_the_cluster_is_left_out_but_the_timeout_of_what_recurs() -> None:
    params = {"a": "1", "id": "x", "crm_feature_set": "3", "CRM_meta_name": "monitor", TIMEOUT: "5"}
    assert digested_parameters(params) == {"a": "1"}
    assert digested_parameters(params, 10_000) == {"a": "1", TIMEOUT: "5"}


def test_restart_and_secure_digests_are_about_a_part_of_the_parameters() -> None:
    params = {"a": "1", "b": "2"}
    assert only(params, ("a", "c")) == {"a": "1"}
    assert without(params, ("a", "c")) == {"b": "2"}
