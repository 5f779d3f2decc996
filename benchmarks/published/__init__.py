"""Published results: the papers' tables as one typed collection."""

from benchmarks.published.tables import (
    HeadlineFigure,
    PublishedColumn,
    PublishedRow,
    PublishedTable,
    Source,
    System,
    Term,
    headline_figures,
    published_tables,
    systems,
    terms,
)

__all__ = [
    "HeadlineFigure",
    "PublishedColumn",
    "PublishedRow",
    "PublishedTable",
    "Source",
    "System",
    "Term",
    "headline_figures",
    "published_tables",
    "systems",
    "terms",
]
