"""What trains trials: an actor that takes one trial after the other, alone, as lanes, or with a team of workers."""
