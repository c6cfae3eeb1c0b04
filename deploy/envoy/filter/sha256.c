#include "sha256.h"

#include <string.h>

enum { BLOCK = 64, LENGTH_SIZE = 8 };

// The first 32 bits of the fractions of the cube roots of the first 64 primes.
static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotated(uint32_t word, int bits) { return word >> bits | word << (32 - bits); }

static uint32_t read_word(const uint8_t *at) {
  return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void schedule(const uint8_t *block, uint32_t w[64]) {
  for (int t = 0; t < 16; t++) w[t] = read_word(block + 4 * t);
  for (int t = 16; t < 64; t++) {
    uint32_t a = w[t - 15], b = w[t - 2];
    w[t] = w[t - 16] + (rotated(a, 7) ^ rotated(a, 18) ^ a >> 3) + w[t - 7] + (rotated(b, 17) ^ rotated(b, 19) ^ b >> 10);
  }
}

static void add_block(uint32_t state[8], const uint8_t *block) {
  uint32_t w[64], a = state[0], b = state[1], c = state[2], d = state[3];
  uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
  schedule(block, w);
  for (int t = 0; t < 64; t++) {
    uint32_t first = h + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + ((e & f) ^ (~e & g)) + K[t] + w[t];
    uint32_t second = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    h = g, g = f, f = e, e = d + first, d = c, c = b, b = a, a = first + second;
  }
  const uint32_t worked[8] = {a, b, c, d, e, f, g, h};
  for (int n = 0; n < 8; n++) state[n] += worked[n];
}

void sha256(const void *bytes, size_t size, uint8_t hash[HASH_SIZE]) {
  uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  const uint8_t *at = bytes;
  size_t left = size;
  for (; left >= BLOCK; at += BLOCK, left -= BLOCK) add_block(state, at);
  uint8_t last[2 * BLOCK] = {0};  // the rest, a bit, zeros, and how many bits there were
  if (left > 0) memcpy(last, at, left);
  last[left] = 0x80;
  size_t end = left + 1 + LENGTH_SIZE <= BLOCK ? BLOCK : 2 * BLOCK;
  for (size_t n = 0; n < LENGTH_SIZE; n++) last[end - 1 - n] = (uint8_t)((uint64_t)size * 8 >> (8 * n));
  for (size_t n = 0; n < end; n += BLOCK) add_block(state, last + n);
  for (int n = 0; n < HASH_SIZE; n++) hash[n] = (uint8_t)(state[n / 4] >> (24 - 8 * (n % 4)));
}

uint64_t short_hash(const void *bytes, size_t size) {
  uint8_t hash[HASH_SIZE];
  uint64_t number = 0;
  sha256(bytes, size, hash);
  for (int n = 0; n < 8; n++) number = number << 8 | hash[n];
  return number;
}
