"""Other quantizers on the same model and the same images: `python -m benchmarks.peers`.

Each runs in an environment of its own, because they pin libraries that exclude each other.
"""
