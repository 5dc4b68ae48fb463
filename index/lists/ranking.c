/* Multiply a query with the codes of records (see records.py): whole numbers, which compilers turn into
 * multiply-and-add instructions of every processor. NumPy must copy the codes and widen them first. */

#include <stdint.h>
#include <string.h>

enum { LINE = 64, AHEAD = 6 }; /* bytes of a cache line; records that are fetched ahead: they lie anywhere in memory */

static int32_t of_bytes(const int16_t *query, const uint8_t *codes, int64_t count)
{
    int32_t sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += query[i] * (int16_t)(int8_t)codes[i];
    return sum;
}

static int32_t of_lower_halves(const int16_t *query, const uint8_t *codes, int64_t count)
{
    int32_t sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += query[i] * (int16_t)(codes[i] & 15);
    return sum;
}

static int32_t of_upper_halves(const int16_t *query, const uint8_t *codes, int64_t count)
{
    int32_t sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += query[i] * (int16_t)(codes[i] >> 4);
    return sum;
}

/* Read some records: their brackets, and their products with a query.
 *
 *   records             of `row_bytes` each: bracket, bytes, half bytes
 *   items[n]            the records to read
 *   query               of `bytes`, then `lower`, then `upper` components
 *   brackets[n], products[n]  are set
 */
void read_records(const uint8_t *records, int64_t row_bytes, const int64_t *items, int64_t n, const int16_t *query,
                  int64_t bytes, int64_t lower, int64_t upper, float *brackets, int32_t *products)
{
    for (int64_t i = 0; i < n; i++) {
        if (i + AHEAD < n)
            for (int64_t at = 0; at < row_bytes; at += LINE)
                __builtin_prefetch(records + items[i + AHEAD] * row_bytes + at);
        const uint8_t *record = records + items[i] * row_bytes, *codes = record + sizeof(float);
        memcpy(brackets + i, record, sizeof(float));
        products[i] = of_bytes(query, codes, bytes) + of_lower_halves(query + bytes, codes + bytes, lower) +
                      of_upper_halves(query + bytes + lower, codes + bytes, upper);
    }
}
