"""Findings in plain English, each kind in its own words.

scene        a finding, and the small words that sentences are made of
values       reads that show what they should not           sentences    the table, and what
orders       operations that admit no order                              becomes of a finding
sessions     what a client may expect of itself
database     what the database was left with
loads        what was asked too often
locks        who held what
waits        what took too long
"""

from cacheproof.reports.findings.sentences import culprit_mark, finding_sentences, finding_words

__all__ = ["culprit_mark", "finding_sentences", "finding_words"]
