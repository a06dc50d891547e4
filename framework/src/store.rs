//! Where tasks survive.
