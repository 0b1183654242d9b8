"""What the C allocator does with memory that was freed: no C face."""
