"""What a search may use of time, money and storage, and where it went."""
