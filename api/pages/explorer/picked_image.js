// An image that the user chose, dropped or pasted. The service ignores the orientation in Exif, so an image that a camera
// marked as rotated is turned upright here, and encoded again. The orientation of the others is left to CSS, which stops
// the browser from turning images of the page's own.

const QUALITY = 0.95;

export class PickedImage {
  constructor(blob, name, turned) {
    Object.assign(this, { blob, name, turned, box: null, orientation: null, url: URL.createObjectURL(blob) });
  }

  static async from(file) {
    const name = file.name || "image";
    if (!(await isTurned(file))) return new PickedImage(file, name, false);
    const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
    const canvas = document.createElement("canvas");
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    const upright = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
    return upright ? new PickedImage(upright, name, true) : new PickedImage(file, name, false);
  }
}

// Returns whether a JPEG's Exif orientation is rotated or mirrored (Exif 2.32, tag 0x0112; 1 is upright).
async function isTurned(file) {
  const view = new DataView(await file.slice(0, 65_536).arrayBuffer());
  try {
    if (view.getUint16(0) !== 0xffd8) return false;
    let at = 2;
    while (view.getUint16(at) !== 0xffe1 || view.getUint32(at + 4) !== 0x45786966) {
      if (view.getUint8(at) !== 0xff || view.getUint16(at) === 0xffda) return false;
      at += 2 + view.getUint16(at + 2);
    }
    const tiff = at + 10;
    const little = view.getUint16(tiff) === 0x4949;
    const directory = tiff + view.getUint32(tiff + 4, little);
    for (let entry = 0; entry < view.getUint16(directory, little); entry++) {
      const field = directory + 2 + 12 * entry;
      if (view.getUint16(field, little) === 0x0112) return view.getUint16(field + 8, little) > 1;
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // the file ends before the tag
  }
  return false;
}
