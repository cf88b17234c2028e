//! Wire contracts only; no logic.
