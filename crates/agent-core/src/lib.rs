//! Control state of the agent.
