"""The studio's page: a tab for each thing that one does with runs, in the browser.

Every tab holds its state for one person alone; what takes long yields what it has so far and can be cancelled. What
happens is in `genat.studio.logic`.
"""

from genat.studio.pages.page import application

__all__ = ["application"]
