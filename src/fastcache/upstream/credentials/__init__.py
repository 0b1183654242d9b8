"""The credentials requests to the origin are signed with: where they come from, and how they stay fresh."""
