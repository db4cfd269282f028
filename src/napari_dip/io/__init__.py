"""Files: images in with what is known about them, images out with how they were made.

Nothing is unpickled, nothing is fetched, and nothing is half written.
"""
