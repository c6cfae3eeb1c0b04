// SHA-256 (FIPS 180-4).

#pragma once

#include <stddef.h>
#include <stdint.h>

enum { HASH_SIZE = 32 };

void sha256(const void *bytes, size_t size, uint8_t hash[HASH_SIZE]);

// The first eight bytes of it, as a number: for tables, where the whole is too much.
uint64_t short_hash(const void *bytes, size_t size);
