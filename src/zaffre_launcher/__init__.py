"""The small program beside the user's process.

Standard library only, any Python from 3.8 on; knows nothing of zaffre. Its start is part of every job's, so it imports
little: see `codec` and `linux` for what it goes without.
"""
