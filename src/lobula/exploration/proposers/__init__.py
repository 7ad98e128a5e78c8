"""Who proposes: optimisers, agents, recorded answers, and mixtures of them."""
