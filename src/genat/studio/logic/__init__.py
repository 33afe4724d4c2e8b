"""What the studio's pages do, without a browser: moves that yield what is to be seen as it comes, and its HTML."""

from genat.studio.logic.opened import Opened, open_runs

__all__ = ["Opened", "open_runs"]
