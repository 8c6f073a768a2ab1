"""A checkpoint's files: headers, the layout of tensor names, reading, fitting, writing, and the manifest."""
