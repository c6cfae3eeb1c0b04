#include "key.h"

#include <stdio.h>

// Bytes that follow the first one of a character; -1 where no character begins so.
static int followers(uint8_t first) {
  if (first < 0x80) return 0;
  if (first < 0xC2) return -1;
  if (first < 0xE0) return 1;
  if (first < 0xF0) return 2;
  return first < 0xF5 ? 3 : -1;
}

static bool is_text(const uint8_t *at, const uint8_t *end) {
  while (at < end) {
    uint8_t first = *at++;
    if (first < 0x20 || first == 0x7F) return false;
    int more = followers(first);
    if (more < 0 || more > end - at) return false;
    for (int n = 0; n < more; n++) {
      // the second byte has narrower bounds where the character would be one that a shorter form, or none, has
      uint8_t low = n == 0 && first == 0xE0 ? 0xA0 : n == 0 && first == 0xF0 ? 0x90 : 0x80;
      uint8_t high = n == 0 && first == 0xED ? 0x9F : n == 0 && first == 0xF4 ? 0x8F : 0xBF;
      uint8_t byte = *at++;
      if (byte < low || byte > high) return false;
    }
  }
  return true;
}

bool is_key(view key, char fault[FAULT_ROOM]) {
  const uint8_t *text = (const uint8_t *)key.ptr;
  if (key.length > LONGEST_KEY) {
    snprintf(fault, FAULT_ROOM, "x-penstock-routing-key has %zu bytes; at most %d are allowed", key.length, LONGEST_KEY);
  } else if (!is_text(text, text + key.length)) {
    snprintf(fault, FAULT_ROOM, "x-penstock-routing-key must be UTF-8 without control characters");
  } else {
    return true;
  }
  return false;
}
