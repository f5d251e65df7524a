"""What files of photographs hold: headers, pixels, color, and how these are written."""
