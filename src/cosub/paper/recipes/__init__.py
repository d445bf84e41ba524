"""The paper's recipes, table by table."""
