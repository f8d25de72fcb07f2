"""What our own recipe gives: tables from finished runs, beside those with the paper's recipes and never mixed."""
