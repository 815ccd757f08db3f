"""Parameters, meta-attributes and utilization of one resource: shown, set and deleted.

Agents look at and set their own utilization in monitors, so this does not load lxml.
"""

from __future__ import annotations

from crm.tools import exits
from crm.tools.cluster import query
from crm.tools.command import Failure
from crm.tools.xmltext import counted, element, elements, id_part, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from crm.tools.cluster import Cluster
    from crm.tools.command import Given

CLIENT: Final = "crm_resource"
TAGS: Final = ("primitive", "group", "clone", "master", "bundle", "template")


class Owner:
    """A resource of the configuration: its element's tag and id, and the id of the clone around it, if any."""

    def __init__(self, tag: str, identity: str, clone: str) -> None:
        self.tag = tag
        self.id = identity
        self.clone = clone

    def path(self) -> str:
        return f"//resources//{self.tag}[@id={quoted(self.id)}]"


def any_of(identity: str) -> str:
    """The XPath of the resource with this id, whatever it is."""
    kinds = " or ".join(f"self::{tag}" for tag in TAGS)
    return f"//resources//*[{kinds}][@id={quoted(identity)}]"


def find(cluster: Cluster, identity: str) -> Owner:
    """The resource of that id; `st:0` means what is cloned. Failure when there is none."""
    for name in (identity, base_name(identity)):
        text = query(cluster, xpath=any_of(name))
        for tag in TAGS:
            if text is not None and any(found.get("id") == name for found in elements(text, tag)):
                around = query(cluster, xpath=f"//resources//*[self::clone or self::master][{tag}[@id={quoted(name)}]]")
                clones = elements(around, "clone") + elements(around, "master")
                return Owner(tag, name, clones[0].get("id", "") if clones else "")
    raise not_found(identity)


def not_found(identity: str) -> Failure:
    return Failure(f"Resource '{identity}' not found\nError performing operation: No such object", exits.NOSUCH)


def base_name(identity: str) -> str:
    head, colon, tail = identity.rpartition(":")
    return head if colon and tail.isdigit() else identity


def set_tag(given: Given) -> str:
    if given.has("meta"):
        return "meta_attributes"
    return "utilization" if given.has("utilization") else "instance_attributes"


def _pairs(cluster: Cluster, owner: Owner, tag: str, name: str, given: Given) -> list[dict[str, str]]:
    condition = f"[@id={quoted(given.text('set-name'))}]" if given.has("set-name") else ""
    path = f"{owner.path()}/{tag}{condition}/nvpair[@name={quoted(name)}]"
    found = elements(query(cluster, xpath=path), "nvpair")
    return [pair for pair in found if given.text("nvpair") in ("", pair.get("id"))]


def show(cluster: Cluster, given: Given) -> int:
    if given.has("element"):
        return _show_attribute(cluster, given, given.text("get-parameter"), exits.NOSUCH)
    owner, name = find(cluster, given.text("resource")), given.text("get-parameter")
    found = _pairs(cluster, owner, set_tag(given), name, given)
    if not found:
        raise Failure(f"Attribute '{name}' not found for '{owner.id}'", exits.NOSUCH)
    print(found[0].get("value", ""))
    return exits.OK


def change(cluster: Cluster, given: Given) -> int:
    if not given.has("parameter-value"):
        raise Failure("You need to supply a value with the -v option", exits.USAGE)
    if given.has("element"):
        return _change_attribute(cluster, given, given.text("set-parameter"), given.text("parameter-value"))
    owner, name, value = (
        find(cluster, given.text("resource")),
        given.text("set-parameter"),
        given.text("parameter-value"),
    )
    put(cluster, _effective(owner, name, given), set_tag(given), name, value, given)
    return exits.OK


def _effective(owner: Owner, name: str, given: Given) -> Owner:
    """Meta-attributes of what is cloned are those of the clone."""
    if not owner.clone or not given.has("meta") or given.has("force"):
        return owner
    if not given.has("quiet"):
        print(f"Performing update of '{name}' on '{owner.clone}', the parent of '{owner.id}'")
    return Owner("clone", owner.clone, "")


def put(cluster: Cluster, owner: Owner, tag: str, name: str, value: str, given: Given) -> None:
    quiet = given.has("quiet")
    found = _pairs(cluster, owner, tag, name, given)
    if len(found) > 1:
        ids = ", ".join(pair.get("id", "") for pair in found)
        raise Failure(
            f"{name} of {owner.id} is set {len(found)} times ({ids}): choose one with -i or -s", exits.MULTIPLE
        )
    if found:
        identity = found[0].get("id", "")
        text = element("nvpair", {"id": identity, "value": counted(value)})
        cluster.call("cib.apply", operation="modify", xml=text, scope="resources", client=CLIENT)
        if not quiet:
            print(f"Set '{owner.id}' option: id={identity} name={name} value={value}")
        return
    set_id = given.text("set-name")
    own = elements(query(cluster, xpath=f"{owner.path()}/{tag}[not(rule) and not(@id-ref)]"), tag)
    if not set_id:
        set_id = own[0].get("id", "") if own else f"{owner.id}-{tag}"
    identity = given.text("nvpair") or f"{set_id}-{id_part(name)}"
    pair = element("nvpair", {"id": identity, "name": name, "value": counted(value)})
    if any(known.get("id") == set_id for known in own):
        where = f"{owner.path()}/{tag}[@id={quoted(set_id)}]"
        cluster.call("cib.apply", operation="create", xml=pair, xpath=where, client=CLIENT)
    else:
        text = element(tag, {"id": set_id}, pair)
        cluster.call("cib.apply", operation="create", xml=text, xpath=owner.path(), client=CLIENT)
    if not quiet:
        print(f"Set '{owner.id}' option: id={identity} set={set_id} name={name} value={value}")


def remove(cluster: Cluster, given: Given) -> int:
    if given.has("element"):
        return _change_attribute(cluster, given, given.text("delete-parameter"), None)
    name = given.text("delete-parameter")
    owner = _effective(find(cluster, given.text("resource")), name, given)
    drop(cluster, owner, set_tag(given), name, given)
    return exits.OK


def drop(cluster: Cluster, owner: Owner, tag: str, name: str, given: Given) -> None:
    """Nothing happens when there is no such value."""
    for pair in _pairs(cluster, owner, tag, name, given):
        path = f"{owner.path()}/{tag}/nvpair[@id={quoted(pair.get('id', ''))}]"
        cluster.call("cib.apply", operation="delete", xpath=path, client=CLIENT)
        if not given.has("quiet"):
            print(f"Deleted '{owner.id}' option: id={pair.get('id')} name={name}")


def value_of(cluster: Cluster, owner: Owner, tag: str, name: str, given: Given) -> str | None:
    found = _pairs(cluster, owner, tag, name, given)
    return found[0].get("value") if found else None


# --- attributes of the element itself --------------------------------------------------------------------------------


def show_property(cluster: Cluster, given: Given) -> int:
    """`--get-property`: nothing is printed when there is none."""
    return _show_attribute(cluster, given, given.text("get-property"), exits.OK)


def change_property(cluster: Cluster, given: Given) -> int:
    """`--set-property`."""
    if not given.has("resource-type"):
        raise Failure("Must specify -t with resource type\nError performing operation: No such object", exits.NOSUCH)
    if not given.has("parameter-value"):
        raise Failure("You need to supply a value with the -v option", exits.USAGE)
    return _change_attribute(cluster, given, given.text("set-property"), given.text("parameter-value"))


def _show_attribute(cluster: Cluster, given: Given, name: str, code: int) -> int:
    owner = find(cluster, given.text("resource"))
    found = elements(query(cluster, xpath=owner.path()), owner.tag)
    value = next((each.get(name) for each in found if each.get("id") == owner.id), None)
    if value is None:
        if code != exits.OK:
            raise Failure(f"Attribute '{name}' not found for '{owner.id}'", code)
        return code
    print(value)
    return exits.OK


def _change_attribute(cluster: Cluster, given: Given, name: str, value: str | None) -> int:
    """`value` None takes it away. What identifies a resource is not changed behind the back of what refers to it."""
    owner = find(cluster, given.text("resource"))
    wanted = given.get("resource-type")
    if wanted is not None and wanted != owner.tag:
        raise Failure(f"{owner.id} is a {owner.tag}, not a {wanted}", exits.NOSUCH)
    if name == "id":
        raise Failure("the id of a resource cannot be changed by this command; see: crm configure rename", exits.USAGE)
    if value is not None:
        text = element(owner.tag, {"id": owner.id, name: counted(value)})
        cluster.call("cib.apply", operation="modify", xml=text, scope="resources", client=CLIENT)
        return exits.OK
    from crm.cib import xml  # not needed by what monitors call

    whole = xml.parse_fragment(query(cluster, xpath=owner.path()) or "", comments=True)
    if name in whole.attrib:
        del whole.attrib[name]
        text = xml.to_text(whole)
        cluster.call("cib.apply", operation="replace", xml=text, xpath=owner.path(), client=CLIENT)
    return exits.OK
