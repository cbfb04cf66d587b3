"""What a search may try: its keys, when they are drawn, what is wrong with them, and drawing from them."""
