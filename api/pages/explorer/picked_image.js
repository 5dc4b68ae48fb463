// An image that the user chose, dropped or pasted. The service ignores the orientation in Exif, so an image that a camera
// marked as rotated is turned upright here, and encoded again. Of images that are no JPEG, the service tells the orientation.

const QUALITY = 0.95;

export class PickedImage {
  constructor(blob, name, orientation, turned = false) {
    Object.assign(this, { blob, name, orientation, turned, box: null, url: URL.createObjectURL(blob) });
  }

  static async from(file) {
    const name = file.name || "image";
    const orientation = await orientationOf(file);
    if (!(orientation > 1)) return new PickedImage(file, name, orientation);
    const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
    const canvas = document.createElement("canvas");
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    const upright = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
    return upright ? new PickedImage(upright, name, 1, true) : new PickedImage(file, name, orientation);
  }
}

// Returns the Exif orientation of a JPEG, 1 to 8 (Exif 2.32, tag 0x0112; 1 is upright). undefined: it is no JPEG, or its
// metadata are long.
async function orientationOf(file) {
  const view = new DataView(await file.slice(0, 65_536).arrayBuffer());
  try {
    if (view.getUint16(0) !== 0xffd8) return undefined;
    let at = 2;
    while (view.getUint16(at) !== 0xffe1 || view.getUint32(at + 4) !== 0x45786966) {
      if (view.getUint8(at) !== 0xff || view.getUint16(at) === 0xffda) return 1;
      at += 2 + view.getUint16(at + 2);
    }
    const tiff = at + 10;
    const little = view.getUint16(tiff) === 0x4949;
    const directory = tiff + view.getUint32(tiff + 4, little);
    for (let entry = 0; entry < view.getUint16(directory, little); entry++) {
      const field = directory + 2 + 12 * entry;
      if (view.getUint16(field, little) !== 0x0112) continue;
      const told = view.getUint16(field + 8, little);
      return told >= 1 && told <= 8 ? told : 1;
    }
    return 1;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // the tag is further behind
    return undefined;
  }
}
