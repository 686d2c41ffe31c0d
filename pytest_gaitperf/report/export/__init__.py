"""What was measured, in the formats of the tools that people already run; one file per format."""
