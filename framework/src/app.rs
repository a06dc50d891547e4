//! What a command may reach.
