/* SPDX-License-Identifier: BSD-3-Clause */
/* Command descriptor blocks: SPC-4 and SBC-3. All fields are big-endian. */
#include <endian.h>
#include <string.h>

#include "vhost_frontend/scsi.h"

enum {
	OP_TEST_UNIT_READY = 0x00,
	OP_INQUIRY = 0x12,
	OP_MODE_SENSE_6 = 0x1a,
	OP_READ_CAPACITY_10 = 0x25,
	OP_READ_10 = 0x28,
	OP_WRITE_10 = 0x2a,
	OP_SYNCHRONIZE_CACHE_10 = 0x35,
	OP_UNMAP = 0x42,
	OP_READ_16 = 0x88,
	OP_WRITE_16 = 0x8a,
	OP_WRITE_SAME_16 = 0x93,
	OP_SERVICE_ACTION_IN_16 = 0x9e,
	OP_REPORT_LUNS = 0xa0,
};

#define ACTION_READ_CAPACITY_16 0x10
#define WRITE_SAME_UNMAP	0x08
#define INQUIRY_EVPD		0x01

/* Whole stores: what is stored by bytes is slow to be loaded as a word. */
static void put16(uint8_t *p, uint16_t value)
{
	value = __builtin_bswap16(value);
	memcpy(p, &value, sizeof(value));
}

static void put32(uint8_t *p, uint32_t value)
{
	value = __builtin_bswap32(value);
	memcpy(p, &value, sizeof(value));
}

static size_t begin(uint8_t *cdb, uint8_t opcode, size_t len)
{
	memset(cdb, 0, VFE_CDB_MAX);
	cdb[0] = opcode;
	return len;
}

static void put64(uint8_t *p, uint64_t value)
{
	value = htobe64(value);
	memcpy(p, &value, sizeof(value));
}

/* All of it in few stores: the line may just be on its way from the other side. */
static void put_words(uint8_t *cdb, uint64_t first, uint64_t second)
{
	put64(cdb, first);
	put64(cdb + 8, second);
	memset(cdb + 16, 0, VFE_CDB_MAX - 16);
}

static size_t ten(uint8_t *cdb, uint8_t opcode, uint32_t lba, uint16_t blocks)
{
	put_words(cdb, (uint64_t)opcode << 56 | (uint64_t)lba << 16 | blocks >> 8,
		  (uint64_t)blocks << 56);
	return 10;
}

static size_t sixteen(uint8_t *cdb, uint8_t opcode, uint64_t lba, uint32_t blocks)
{
	put_words(cdb, (uint64_t)opcode << 56 | lba >> 16, lba << 48 | (uint64_t)blocks << 16);
	return 16;
}

size_t vfe_cdb_test_unit_ready(uint8_t *cdb)
{
	return begin(cdb, OP_TEST_UNIT_READY, 6);
}

size_t vfe_cdb_inquiry(uint8_t *cdb, bool vpd, uint8_t page, uint16_t allocation)
{
	size_t len = begin(cdb, OP_INQUIRY, 6);

	cdb[1] = vpd ? INQUIRY_EVPD : 0;
	cdb[2] = page;
	put16(cdb + 3, allocation);
	return len;
}

size_t vfe_cdb_report_luns(uint8_t *cdb, uint32_t allocation)
{
	size_t len = begin(cdb, OP_REPORT_LUNS, 12);

	put32(cdb + 6, allocation);
	return len;
}

size_t vfe_cdb_read_capacity10(uint8_t *cdb)
{
	return begin(cdb, OP_READ_CAPACITY_10, 10);
}

size_t vfe_cdb_read_capacity16(uint8_t *cdb, uint32_t allocation)
{
	size_t len = begin(cdb, OP_SERVICE_ACTION_IN_16, 16);

	cdb[1] = ACTION_READ_CAPACITY_16;
	put32(cdb + 10, allocation);
	return len;
}

size_t vfe_cdb_mode_sense6(uint8_t *cdb, uint8_t page, uint8_t allocation)
{
	size_t len = begin(cdb, OP_MODE_SENSE_6, 6);

	cdb[2] = page;
	cdb[4] = allocation;
	return len;
}

size_t vfe_cdb_read10(uint8_t *cdb, uint32_t lba, uint16_t blocks)
{
	return ten(cdb, OP_READ_10, lba, blocks);
}

size_t vfe_cdb_write10(uint8_t *cdb, uint32_t lba, uint16_t blocks)
{
	return ten(cdb, OP_WRITE_10, lba, blocks);
}

void vfe_cdb_seek10(uint8_t *cdb, uint32_t lba)
{
	lba = htobe32(lba);
	memcpy(cdb + 2, &lba, sizeof(lba));
}

size_t vfe_cdb_read16(uint8_t *cdb, uint64_t lba, uint32_t blocks)
{
	return sixteen(cdb, OP_READ_16, lba, blocks);
}

size_t vfe_cdb_write16(uint8_t *cdb, uint64_t lba, uint32_t blocks)
{
	return sixteen(cdb, OP_WRITE_16, lba, blocks);
}

size_t vfe_cdb_sync_cache10(uint8_t *cdb, uint32_t lba, uint16_t blocks)
{
	return ten(cdb, OP_SYNCHRONIZE_CACHE_10, lba, blocks);
}

size_t vfe_cdb_unmap(uint8_t *cdb, uint16_t list_len)
{
	size_t len = begin(cdb, OP_UNMAP, 10);

	put16(cdb + 7, list_len);
	return len;
}

size_t vfe_cdb_write_same16(uint8_t *cdb, uint64_t lba, uint32_t blocks, bool unmap)
{
	size_t len = sixteen(cdb, OP_WRITE_SAME_16, lba, blocks);

	cdb[1] = unmap ? WRITE_SAME_UNMAP : 0;
	return len;
}
