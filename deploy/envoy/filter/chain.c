#include "chain.h"

#include <string.h>

enum { MODEL_NAME = 10, MODEL_VERSION = 18 };  // tags of fields 1 and 2, both of bytes

static view entry_of(view chain, unsigned long attempt) {
  char *at = chain.ptr, *end = chain.ptr + chain.length;
  while (attempt > 0) {
    char *comma = memchr(at, ',', (size_t)(end - at));
    if (--attempt == 0) return (view){at, (size_t)((comma == NULL ? end : comma) - at)};
    if (comma == NULL) break;
    at = comma + 1;
  }
  return (view){NULL, 0};
}

static void append(target *found, char tag, view text) {
  found->fields[found->size++] = tag;
  found->fields[found->size++] = (char)text.length;
  memcpy(found->fields + found->size, text.ptr, text.length);
  found->size += text.length;
}

bool target_of(view chain, unsigned long attempt, target *found) {
  found->size = 0;
  if (chain.ptr == NULL) return false;
  view entry = entry_of(chain, attempt);
  if (entry.ptr == NULL) return false;
  char *slash = memchr(entry.ptr, '/', entry.length);
  if (slash != NULL) {
    view model = {entry.ptr, (size_t)(slash - entry.ptr)};
    if (!is_name(model.ptr, model.length)) return false;
    append(found, MODEL_NAME, model);
    entry = (view){slash + 1, entry.length - model.length - 1};
  }
  if (!is_name(entry.ptr, entry.length)) return false;
  append(found, MODEL_VERSION, entry);
  found->version = entry;
  return true;
}
