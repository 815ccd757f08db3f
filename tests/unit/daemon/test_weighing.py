"""What a node runs as a number, for a tie-breaker that prefers the side that runs more."""

from __future__ import annotations

from lxml import etree

from crm.daemon.weighing import weight

CIB = etree.fromstring("""
<cib><configuration>
 <rsc_defaults><meta_attributes id="d"><nvpair id="d-p" name="priority" value="1"/></meta_attributes></rsc_defaults>
 <resources>
  <primitive id="a"><meta_attributes id="a-m"><nvpair id="a-p" name="priority" value="10"/></meta_attributes></primitive>
  <group id="g"><meta_attributes id="g-m"><nvpair id="g-p" name="priority" value="5"/></meta_attributes>
   <primitive id="b"/><primitive id="c"><meta_attributes id="c-m"><nvpair id="c-p" name="priority" value="-3"/></meta_attributes></primitive>
  </group>
  <clone id="k"><primitive id="e"/></clone>
 </resources>
</configuration></cib>
""")


def test_the_weight_is_the_sum_of_the_priorities_of_what_is_active() -> None:
    assert weight(CIB, []) == 0
    assert weight(CIB, ["a"]) == 10
    assert weight(CIB, ["b"]) == 5, "that of the group"
    assert weight(CIB, ["c"]) == 0, "a negative one takes nothing away"
    assert weight(CIB, ["e:1"]) == 1, "that of rsc_defaults, for an instance too"
    assert weight(CIB, ["a", "b", "e:0", "unknown"]) == 16
