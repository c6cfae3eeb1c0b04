// A ModelInferRequest as it lies in Envoy's buffers, in slices. Pure: knows nothing of Envoy but the slices.

#pragma once

#include "abi.h"

enum { LONGEST_NAME = 127 };  // bytes: more would need two for its length, wherever a name is written

typedef struct {
  bool fits;  // made of letters, digits, `_`, `.` and `-`, of which the first is a letter or digit
  size_t size;
  char text[LONGEST_NAME];  // only where it fits
} name;

typedef struct {
  name model;
  name version;
} names;

typedef enum {
  READ,
  CUT_SHORT,   // fewer bytes than its frame announces: nobody can read it
  UNREADABLE,  // compressed, several messages, or no well-formed one: for a decoder to judge
} reading;

// Reads a body of one gRPC frame. Looks at the tags and lengths of all top-level fields; the last model_name and
// model_version win, as in Triton: a filter that trusted the first would let a message that names two models go round
// the policy of one of them.
reading read_names(const view *slices, size_t count, names *found);

// Whether `size` bytes at `text` are fit for the name of a model or version.
bool is_name(const char *text, size_t size);

// Adds `size` to the length that the frame announces. False where there is no frame, or its length would not fit.
bool lengthen_frame(view *slices, size_t count, size_t size);
