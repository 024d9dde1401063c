"""Reports: pages of one file that say in words and charts what a replay found, or how a store is doing."""

from gbdtlr.report.live import store_page
from gbdtlr.report.picture import replay_picture
from gbdtlr.report.replayed import headline, replay_page

__all__ = ["headline", "replay_page", "replay_picture", "store_page"]
