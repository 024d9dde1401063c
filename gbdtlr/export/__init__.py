"""Export: a release as a model of another runtime, with a schema and golden rows beside it.

Nothing is written unless that runtime, on this machine, gives for the golden rows what the release gives.
"""

from gbdtlr.export.folder import FORMATS, Export, export

__all__ = ["FORMATS", "Export", "export"]
