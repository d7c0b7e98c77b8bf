/* SPDX-License-Identifier: MIT */
/* The devices a guest is told of. Ports and interrupts are those of kernel/dev/platform.h. */
DefinitionBlock ("", "DSDT", 2, "WEIR", "WEIRDSDT", 0x00000001)
{
    /* PM1a_CNT takes SLP_TYP 5 for soft off; there is no other sleep state. */
    Name (\_S5, Package () { 0x05, 0x05, 0x00, 0x00 })

    Scope (\_SB)
    {
        Device (COM1)
        {
            Name (_HID, EisaId ("PNP0501"))
            Name (_UID, 1)
            Name (_STA, 0x0F)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x03F8, 0x03F8, 0x01, 0x08)
                IRQNoFlags () { 4 }
            })
        }

        Device (RTC)
        {
            Name (_HID, EisaId ("PNP0B00"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0070, 0x0070, 0x01, 0x02)
                IRQNoFlags () { 8 }
            })
        }
    }
}
