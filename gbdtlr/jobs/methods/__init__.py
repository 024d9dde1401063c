"""Methods: the ways a head learns, behind one protocol; which one, the configuration says.

================  =======================================  ==========================================
method            the whole window                         new samples, on the head before
================  =======================================  ==========================================
``refit``         anchored fits, blended                   no: always the whole window
``incremental``   the same, and the memory of the samples  fits to memory and news, blended
``ftrl, rda,      one pass from the leaf outputs, in       each sample once, in order of maturity
fobos``           order of maturity
================  =======================================  ==========================================

Rows whose label is not final yet, weighed (``jobs.unfinal``), are extra rows of what is published and of nothing else:
a method that goes on from its state learns them on a copy of it, and each in earnest when it is final.
"""

from gbdtlr.jobs.methods.choice import anchored, dense_of, method_of, wide_of
from gbdtlr.jobs.methods.method import Continue, Fitted, Lesson, Method
from gbdtlr.jobs.methods.online import Online, rule_of, sparsity
from gbdtlr.jobs.methods.refit import FIRST_STEPS, Incremental, Refit

__all__ = [
    "FIRST_STEPS",
    "Continue",
    "Fitted",
    "Incremental",
    "Lesson",
    "Method",
    "Online",
    "Refit",
    "anchored",
    "dense_of",
    "method_of",
    "rule_of",
    "sparsity",
    "wide_of",
]
