"""A written page, taken apart."""

import json
import re
from pathlib import Path
from typing import Any

from training.report import write_report


def page_of(folder: Path) -> str:
    """The written page without plotly's own 5 MB."""
    text = write_report(folder).read_text()
    return re.sub(r"<script>/\*\*.*?</script>", "<script>plotly</script>", text, flags=re.DOTALL)


def figures_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    assert found
    figures: dict[str, Any] = json.loads(found[1])
    return figures


def section_of(page: str, name: str) -> str:
    """One section's HTML, empty where there is none."""
    return page.partition(f'<section id="{name}">')[2].partition("</section>")[0]


def text_of(html: str) -> str:
    """What a person reads, cells apart."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())
