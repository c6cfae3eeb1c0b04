#include "message.h"

#include <string.h>

enum { FRAME = 5 };                                // bytes: a flag, and the length of what follows
enum { MODEL_NAME = 10, MODEL_VERSION = 18 };      // fields 1 and 2, both of bytes
enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

typedef struct {
  const view *slice;
  size_t at;    // in the slice
  size_t left;  // bytes from here on, in all slices
} cursor;

static cursor start(const view *slices, size_t count) {
  cursor from = {slices, 0, 0};
  for (size_t n = 0; n < count; n++) from.left += slices[n].length;
  return from;
}

// The next byte; -1 at the end.
static int next(cursor *from) {
  if (from->left == 0) return -1;
  while (from->at == from->slice->length) {
    from->slice++;
    from->at = 0;
  }
  from->left--;
  return (uint8_t)from->slice->ptr[from->at++];
}

// Goes `size` bytes on, and keeps them where `kept` is not NULL. False where there are fewer.
static bool take(cursor *from, uint64_t size, char *kept) {
  if (size > from->left) return false;
  from->left -= size;
  while (size > 0) {
    size_t here = from->slice->length - from->at;
    size_t part = size < here ? size : here;
    if (kept != NULL) {
      memcpy(kept, from->slice->ptr + from->at, part);
      kept += part;
    }
    from->at += part;
    size -= part;
    if (size > 0) {
      from->slice++;
      from->at = 0;
    }
  }
  return true;
}

static bool varint(cursor *from, uint64_t *value) {
  *value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    int byte = next(from);
    if (byte < 0 || (shift == 63 && byte > 1)) return false;
    *value |= (uint64_t)(byte & 127) << shift;
    if (byte < 128) return true;
  }
  return false;
}

static bool take_name(cursor *from, uint64_t size, name *found) {
  found->fits = false;
  found->size = size;
  if (size > LONGEST_NAME) return take(from, size, NULL);
  if (!take(from, size, found->text)) return false;
  found->fits = is_name(found->text, size);
  return true;
}

static bool take_field(cursor *from, names *found) {
  uint64_t tag, size;
  // a decoder that keeps 32 bits would see another field in a longer tag than we do; there is no field 0
  if (!varint(from, &tag) || tag > UINT32_MAX || tag < 8) return false;
  switch (tag & 7) {
    case VARINT:
      return varint(from, &size);
    case FIXED64:
      return take(from, 8, NULL);
    case FIXED32:
      return take(from, 4, NULL);
    case BYTES:
      if (!varint(from, &size)) return false;
      if (tag == MODEL_NAME) return take_name(from, size, &found->model);
      if (tag == MODEL_VERSION) return take_name(from, size, &found->version);
      return take(from, size, NULL);
    default:  // groups
      return false;
  }
}

reading read_names(const view *slices, size_t count, names *found) {
  *found = (names){0};
  cursor from = start(slices, count);
  if (from.left < FRAME) return from.left == 0 ? UNREADABLE : CUT_SHORT;
  int flag = next(&from);
  uint32_t announced = 0;
  for (int n = 1; n < FRAME; n++) announced = announced << 8 | (uint32_t)next(&from);
  if (announced > from.left) return CUT_SHORT;
  if (flag != 0 || announced < from.left) return UNREADABLE;
  while (from.left > 0) {
    if (!take_field(&from, found)) return UNREADABLE;
  }
  return READ;
}

static bool is_alphanumeric(char letter) {
  return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') || (letter >= '0' && letter <= '9');
}

bool is_name(const char *text, size_t size) {
  if (size == 0 || size > LONGEST_NAME || !is_alphanumeric(text[0])) return false;
  for (size_t n = 1; n < size; n++) {
    if (!is_alphanumeric(text[n]) && text[n] != '_' && text[n] != '.' && text[n] != '-') return false;
  }
  return true;
}

bool lengthen_frame(view *slices, size_t count, size_t size) {
  uint8_t *length[FRAME - 1];
  size_t seen = 0;
  uint64_t announced = 0;
  for (size_t n = 0; n < count && seen < FRAME; n++) {
    for (size_t at = 0; at < slices[n].length && seen < FRAME; at++, seen++) {
      if (seen == 0) continue;  // the flag
      length[seen - 1] = (uint8_t *)slices[n].ptr + at;
      announced = announced << 8 | *length[seen - 1];
    }
  }
  announced += size;
  if (seen < FRAME || announced > UINT32_MAX) return false;
  for (int n = 0; n < FRAME - 1; n++) *length[n] = (uint8_t)(announced >> (8 * (FRAME - 2 - n)));
  return true;
}
