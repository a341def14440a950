"""Pure metric functions: numpy arrays in, small frozen results out; nothing here reads pictures or files.

One rule everywhere: a score at or above the threshold is accepted. Counts are exact integers, scores float32, rates
fractions. A threshold "at a rate" is conservative: the smallest one at which the measured rate does not exceed it.

Thread-safe: functions only read their arguments (`score_set(..., in_place=True)` apart), and results do not change.
"""
