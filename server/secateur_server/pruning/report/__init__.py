"""Pages for people: one self-contained HTML file each, plots as inline SVG, no script."""
