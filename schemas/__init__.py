"""What crosses a process boundary: events, Redis keys and records, settings.

This room imports neither of the others (``tests/test_rooms.py`` holds it to that).
"""
