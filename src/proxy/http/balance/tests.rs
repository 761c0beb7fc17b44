//! Which address is chosen, and when one is left alone; on clocks that are told.
