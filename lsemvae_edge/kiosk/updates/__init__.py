"""Updates without a network: a new bundle or new software from a stick, taken whole or not at all."""
