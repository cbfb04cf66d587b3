"""What a form costs where it will be served: time, memory, money."""
