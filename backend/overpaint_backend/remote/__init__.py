"""Other machines: their keys, how they are exchanged, and the relay that brings a daemon elsewhere to the editors here."""
