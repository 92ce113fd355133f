"""Feature frames to token log-probabilities: subsampling, recurrent layers, encoders, CTC.

This room knows neither features nor data.
"""
