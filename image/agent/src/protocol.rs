//! What the agent is asked, and what it answers.
