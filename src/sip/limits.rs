//! What is bounded, by how much, and what happens then.
