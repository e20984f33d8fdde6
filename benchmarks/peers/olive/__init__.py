"""Microsoft Olive."""
