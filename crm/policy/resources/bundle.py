"""Bundles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.policy.model import Bundle, Resource

if TYPE_CHECKING:
    from lxml.etree import _Element

    from crm.policy.resources.unpack import Builder


def build(builder: Builder, element: _Element, parent: Resource | None) -> Bundle | None:
    return None
