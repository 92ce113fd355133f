"""Language models: text to n-gram models, the files they are kept in, and what they say of a text.

This room knows no audio, no acoustic model and no search.
"""
